"""The dashboard over HTTP: the same page as index.html, with what comes while it is open (docs/dashboard.md)."""

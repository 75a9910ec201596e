"""The dashboard over HTTP: the same page as index.html, with what lands while one looks at it (docs/dashboard.md)."""

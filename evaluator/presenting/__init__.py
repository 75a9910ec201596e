"""Reports for people: Markdown, tables, charts in a terminal, the dashboard."""

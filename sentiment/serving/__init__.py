"""The web server: a page for people, JSON for programs."""

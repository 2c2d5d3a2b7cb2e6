"""The demo as a page in the browser."""

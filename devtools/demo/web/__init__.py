"""The demo's page: static files and the small server that serves them."""

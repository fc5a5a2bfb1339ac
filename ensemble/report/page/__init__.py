"""report.html: its data, its pictures, and the page itself."""

"""The pages. Each module is one area of the site and lists its routes at the end."""

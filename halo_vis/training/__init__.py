"""Training: recipes, the data they need, and the worker that runs a folder."""

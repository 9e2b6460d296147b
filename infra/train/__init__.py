"""Training of the small text models that the package ships."""

"""Networks that turn an image into features, and the convolutions that make them fast. It imports `common` alone."""

"""Statistics: what the objective measures of a layer's features, and how two images are compared by it.

Of `objective` itself it imports the losses of features and of Gram matrices. Beside them it imports `common`.
"""

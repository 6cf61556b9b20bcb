"""One picture on its way: optimisers, stopping, averaging, coarse to fine. It imports `objective` and `network`."""

"""Weight sets from other programs and public hosts. It imports `pictures` and all below it."""

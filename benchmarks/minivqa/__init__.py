"""Results on the mini benchmark (zoo/minivqa): the paper's claims, the annotations' quality."""

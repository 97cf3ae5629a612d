"""Official figures of any model on any labelled data set: asked once, kept, scored, compared."""

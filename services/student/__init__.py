"""The student service: the production VQA endpoint, its versions, training and hot swap."""

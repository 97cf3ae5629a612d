"""The student service: the production VQA endpoint, its versions, its training and its hot swap."""

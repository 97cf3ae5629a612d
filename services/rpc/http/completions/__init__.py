"""OpenAI's chat completions and models, over the versions of a student.

body       the JSON of a request, with its types
request    one question from a conversation, and the way to answer it
hosts      the servers whose images may be read
images     the bytes of an image: a data URI, or an https URL of a host that is allowed
choices    replies that end at stop sequences
replies    the JSON of replies, chunks and models
stream     server-sent events
openapi    the document of all routes
routes     the paths
"""

"""The HTTP face of a service: its connections are bounded, its errors are JSON, its shutdown loses no request.

HttpServer   makes BentoML's server keep our limits, and leave without losing a request
BoundedHttp  uvicorn's protocol with time limits, and no more than one request of a connection at once
Gate         the outermost ASGI application: known paths only, request ids, one log line for each call
endpoint     a servicer's method as a route: form or JSON -> message -> reply as JSON
Entrance     what these share: limits, and the room that is taken
"""

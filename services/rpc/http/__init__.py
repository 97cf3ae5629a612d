"""The HTTP face of a service: bounded connections, JSON errors, a shutdown without lost requests.

HttpServer    sets our limits and our shutdown in BentoML's server
TlsHandshake  a connection until it is encrypted
BoundedHttp   uvicorn's protocol with time limits and one request per connection at a time
Gate          the outermost ASGI application: known paths only, request ids, a log line per call
endpoint      a servicer's method as a route: form or JSON -> message -> reply as JSON
Entrance      the shared state: limits, and the room that is taken
"""

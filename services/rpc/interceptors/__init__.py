"""Interceptors around every gRPC call, one job a module: calls, failures, turnstile and reading, from the outside in."""

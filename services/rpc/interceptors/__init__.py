"""Interceptors of every gRPC call, from the outside in: calls, failures, authorization, turnstile,
reading, auditing.
"""

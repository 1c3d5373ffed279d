"""Asking people, and what becomes of their answers: between the engine and the control socket."""

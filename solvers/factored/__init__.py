"""Runge-Kutta methods that keep the weights of a stage as factors."""

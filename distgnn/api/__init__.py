"""Python API: one function for each job of the command line, and the objects they return."""

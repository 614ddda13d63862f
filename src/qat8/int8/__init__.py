"""QAT program -> oneDNN INT8 program, and what became of each operator."""

"""How a model becomes a program: frontends, quantizers, Relax passes, TIR schedules, codegen."""

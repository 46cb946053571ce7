"""What the machine is: errors, architectures, number formats, packing, ISA, program."""

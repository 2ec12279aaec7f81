"""Many runs, on machines that are busy and wires that are bad: what violates there and not on a calm one is our fault."""

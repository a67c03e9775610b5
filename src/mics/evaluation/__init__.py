"""How good a registration is: overlap, surface distance, regularity, inverse consistency; Learn2Reg's files."""

"""Operations of a network in C++, compiled on the machine that uses them."""

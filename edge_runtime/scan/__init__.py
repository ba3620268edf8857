"""From a frame to crack regions: lattice to score map, by either engine, whole or in part."""

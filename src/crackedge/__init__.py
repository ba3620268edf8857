"""Crackedge finds cracks in concrete, asphalt and masonry, on drones and robots.

The rooms: :mod:`crackedge.edge_runtime` (the robot), :mod:`crackedge.benchmarks`, :mod:`crackedge.train`,
:mod:`crackedge.export`. From code, begin with :class:`crackedge.edge_runtime.Scanner`.
"""

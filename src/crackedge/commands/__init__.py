"""The commands of ``crackedge``, one a module. What they need that is heavy, they import when they run."""

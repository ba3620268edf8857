"""Speed and accuracy of a model, measured on this device. Never imports TensorFlow.

- How right it is: ``data_sets``, ``evaluation``, ``metrics``, ``bootstrap``, ``engine_agreement``; ``calibration`` and
  ``card_calibration`` make probabilities and thresholds of it, ``verification`` proves a file again. On known cracks:
  ``scene_accuracy``, and ``localisation`` with ``polylines`` and ``marks``.
- How fast it is: ``latency`` runs ``scenarios`` (``sampling``, ``timed_runs`` with ``feeds``, ``cold``) over
  ``footage`` in several processes (``restarts``); ``intervals`` and ``steadiness`` say how sure that is, ``machine``,
  ``memory`` and ``energy`` where it was. ``sweep``, ``sustained``, ``comparison`` and ``advice`` ask more of it;
  ``inspection`` and ``operations`` look into the file; ``peers`` compares with what others write.
- Does it hold: ``faults`` (``fault_trials``, ``faulty_camera``, ``senders``), ``kills``, ``soak``, ``overload``,
  ``reuse``.
- How it is shown: ``table``, ``plots``, ``bench_report``, ``bench_page``, ``readme``.

Those that no command calls are programs, ``python -m crackedge.benchmarks.NAME``; ``program`` is what they share.
"""

"""Where networks run when they are deployed: engines, their clocks, the latency of plans, and export."""

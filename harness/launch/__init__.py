"""Where runs are executed: in this process, in several, or as jobs of a cluster; and how they are ended."""

"""How the device is shared with a training: priorities, measured slowdown, and the governor that bounds it."""

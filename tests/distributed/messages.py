"""Messages of the errors in a program whose outcome is saved."""


def message_of(action):
    """Return the message of the ValueError that an action ends with; "" if it does not."""
    try:
        action()
    except ValueError as error:
        return str(error)
    return ""

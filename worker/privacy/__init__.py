"""Personal data in bodies -> masked, or the record is refused: texts by rule, pictures by boxes and a face detector."""

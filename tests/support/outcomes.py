"""What a command leaves: the files of a folder, and one line on stderr."""


def files(folder):
    """The names in a folder, sorted."""
    return sorted(path.name for path in folder.iterdir())


def one_line(capsys, code):
    """The error on stderr: one line that begins with its exit code, and nothing on stdout."""
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    assert captured.err.startswith(f"error[{code}]")
    return captured.err

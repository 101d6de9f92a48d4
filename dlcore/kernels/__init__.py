"""The same mathematics where it must be ugly to be fast, each behind one plain function."""

"""From a provider's URL into a customer's bucket: guarded download, content checks, one object per output."""

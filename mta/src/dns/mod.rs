//! Names to addresses: MX, A, AAAA through hickory, with caches and budgets.

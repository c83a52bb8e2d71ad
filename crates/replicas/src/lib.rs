//! Save, get and delete over several copies

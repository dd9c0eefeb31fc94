"""Operations on ragged rows."""

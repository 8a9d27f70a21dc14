/** Nothing. */

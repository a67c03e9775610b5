"""Where cases come from: public cohorts and the digital phantom."""

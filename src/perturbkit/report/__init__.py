"""From a run to one offline HTML file."""

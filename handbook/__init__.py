"""The documentation site: mkdocs takes docs/ as it is, and these modules add what the code says.

make site                     build it strictly into build/site

hooks       called by mkdocs (mkdocs.yml)
sources     files of the repository that documents link to, as pages
reference   pages made from the code
commands calls routes variables clients    the reference of the command line, gRPC, HTTP,
            settings and Python clients
tables      Markdown of tables
addresses   links and requests of built pages
blocks      code blocks of documents, and their marks
reasons     reasons of errors that the code can give
"""

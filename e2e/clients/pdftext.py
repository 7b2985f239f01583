"""Print the text of a PDF: pdftext.py FILE"""
import sys

import pypdf

for page in pypdf.PdfReader(sys.argv[1]).pages:
    print(page.extract_text())

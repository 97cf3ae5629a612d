"""The page on which people try the student, if its operator allows it.

routes           the addresses, from admission to the response
pages            HTML from templates/; static/ has the script and the style
desk             one question to the live version, the candidate and the teacher
second_opinion   the teacher's answer
shown            answers that may be judged
"""
